//! Python packages: the simple index, resolution as uv does it, and wheels as parts.

pub mod wheel;

/// A project's name as it is compared: `Flask_SQLAlchemy` is `flask-sqlalchemy` (PEP 503, "Normalized Names").
fn placed_name(name: &str) -> String {
    let mut normalized = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normalized.is_empty() {
            normalized.push('-');
        }
        normalized.push_str(&part.to_lowercase());
    }
    normalized
}
