# What hidden set-up may use. Read by bash before a page's commands.

# Waits until something listens on a port of this machine.
listens_on() {
    for _ in $(seq 300); do
        if (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return 0; fi
        sleep 0.1
    done
    echo "nothing listens on $1"
    return 1
}
