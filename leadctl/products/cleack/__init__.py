"""Prize draws among those who commented on a post."""
