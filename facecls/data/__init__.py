"""From a folder of images to batches: listing, splitting, decoding, augmentation, duplicates."""
