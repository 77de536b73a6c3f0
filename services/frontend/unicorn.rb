listen ENV.fetch("PORT", "8080").to_i, tcp_nopush: true
worker_processes ENV.fetch("WORKERS", "2").to_i
preload_app true
timeout 30
