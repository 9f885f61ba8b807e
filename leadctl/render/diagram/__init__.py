"""Diagrams of schemas: Mermaid, and SVG with a layout of its own."""
