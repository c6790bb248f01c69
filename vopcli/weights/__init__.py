"""Every file format of CLIP weights: catalog, download, reading, conversion."""
