"""How good is the whole machine, and is it good each time?  Three seeds: what is drawn right, held-out combinations
too, diversity, the Frechet distance with its floor, and seconds.  The picture: what the three draw for the same
captions.
"""

import sys

from common import runs_of


def main(path=None):
    runs_of([lambda make: None], __file__, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
