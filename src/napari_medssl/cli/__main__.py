"""``python -m napari_medssl.cli``: `medssl` where its script is not on the path."""

import sys

from napari_medssl.cli import main

if __name__ == "__main__":
    sys.exit(main())
