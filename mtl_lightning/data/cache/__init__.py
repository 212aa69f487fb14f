"""The cache: its folders, locks, downloads, and digests of the code that filled it."""
