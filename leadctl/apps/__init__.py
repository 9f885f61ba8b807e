"""What an app is, and which there are; no product is known here."""
