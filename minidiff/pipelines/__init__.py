"""One file for each thing that is trained and run: `from minidiff.pipelines import toy`."""
