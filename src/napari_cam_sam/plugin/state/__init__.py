"""What the docks of one viewer share: the image, its layers and what is known of them."""
