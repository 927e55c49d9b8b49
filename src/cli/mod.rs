//! The command line: one file per command, all above the slices.
