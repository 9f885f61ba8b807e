"""Short videos for TikTok, Instagram and YouTube: connections, publishing, engagement."""
