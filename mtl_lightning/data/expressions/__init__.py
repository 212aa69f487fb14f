"""The safe language of labels and conditions."""
