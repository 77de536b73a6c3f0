//! One HTTP client for everything: retries, resume, limits, proxies.
