//! OCI images: configuration, manifest, index; layouts and archives of them.
