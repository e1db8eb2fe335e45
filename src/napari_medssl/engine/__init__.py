"""The process that holds torch: job files in, events out. Never imports Qt or napari."""
