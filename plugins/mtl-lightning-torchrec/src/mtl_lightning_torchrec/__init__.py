"""TorchRec's sharded tables as an encoder of mtl_lightning. Importing the package imports no torch."""
