"""The composition roots: settings taken apart once, and a method for every verb."""
