"""Exercises that grade themselves: `check("1.2", my_add_noise)` in a notebook, or a file of answers, graded by
`python -m minidiff.exercises`.  One file of exercises for each notebook: `ch1`, `ch1b`, `ch2`, ..."""

from minidiff.exercises.checker import case, check, exercise_code, exercise_markdown
