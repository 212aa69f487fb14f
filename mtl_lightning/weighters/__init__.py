"""Weighters: the losses of the tasks → one objective. One method per file, named as in its paper."""
