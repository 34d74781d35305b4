"""Ring-3 images built from the C sources under firmware/, shipped as data."""
