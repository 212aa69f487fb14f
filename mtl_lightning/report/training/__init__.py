"""Reports of a training: progress on the terminal, TensorBoard events, relations of tasks."""
