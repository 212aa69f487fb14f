"""TorchJD's weightings as weighters of mtl_lightning. Importing the package imports neither torch nor TorchJD."""
