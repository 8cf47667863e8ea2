"""The patch model, and the readers and writers of module formats."""
