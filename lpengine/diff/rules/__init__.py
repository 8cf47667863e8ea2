"""What cannot be a live patch, one kind of reason a file."""
