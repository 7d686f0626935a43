"""From an image file to S x S pixels of RGB."""
