"""One module per family of image files; `napari_medssl.project.images` is their entrance."""
