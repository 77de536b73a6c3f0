//! npm packages: packuments, the tree that npm would place, and tarballs as parts.
