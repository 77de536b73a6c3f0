//! Python packages: the simple index, resolution as uv does it, and wheels as parts.
