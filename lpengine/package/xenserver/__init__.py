"""Updates as XenServer publishes and installs them."""
