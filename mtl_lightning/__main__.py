"""``python -m mtl_lightning``."""

from mtl_lightning.cli.app import main

if __name__ == "__main__":
    main()
