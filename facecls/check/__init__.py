"""A look at config, data and one batch before time is spent on them."""
