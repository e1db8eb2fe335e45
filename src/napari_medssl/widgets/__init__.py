"""Everything that is drawn on the screen: the only part of the package that knows Qt and napari."""
