# What hidden set-up may use. Read by bash before a page's commands.

# Waits until a command succeeds. What is asked is what listens: PostgreSQL listens before it answers.
wait_for() {
    for _ in $(seq 600); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    echo "no success yet: $*"
    return 1
}

# A workspace in this folder with an environment that asks for these packages of the archive `vendor`.
workspace() {
    mkdir -p envs keys
    : >kiln.toml
    cp "$ARCHIVE_KEY" keys/vendor.asc
    environment "$@"
}

environment() {
    local name=$1 packages
    shift
    packages=$(printf '"%s", ' "$@")
    cat >"envs/$name.toml" <<END
[debian]
suites = []
base = "none"
packages = [${packages%, }]

[[debian.source]]
origin = "vendor"
suite = "stable"
key = "keys/vendor.asc"
END
}

# A workspace in this folder with these environments of this repository, for this machine alone.
repository() {
    mkdir envs
    : >kiln.toml
    for name in "$@"; do sed '/^platforms/d' "$REPOSITORY/envs/$name.toml" >"envs/$name.toml"; done
    cp -r "$REPOSITORY/services" .
}

# What was made so far, as the last commit of `main`.
committed() {
    git init --quiet
    git add .
    git commit --quiet --message "The workspace"
}

# A Docker engine with folders of its own, in a mount namespace as `bin/podman` has it.
docker_engine() {
    local folder=$ENGINES_FOLDER
    unshare --mount sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"' dockerd \
        --data-root "$folder/docker" --exec-root "$folder/docker-run" --pidfile "$folder/docker.pid" \
        --host "unix://$folder/docker.sock" --iptables=false --bridge=none --storage-driver=overlay2 \
        >"$folder/docker.log" 2>&1 &
    engine=$!
    for _ in $(seq 300); do
        if docker info >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    cat "$folder/docker.log"
    return 1
}

end_docker_engine() {
    kill "$engine"
    wait "$engine" || true
}
