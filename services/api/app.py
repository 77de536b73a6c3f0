# -*- coding: utf-8 -*-
"""Users from the user database, and a count of requests in the queue."""
import os

import celery
import flask
import psycopg2
import redis

app = flask.Flask(__name__)
tasks = celery.Celery("api", broker=os.environ["QUEUE_URL"])


def database():
    return psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=5)


@app.route("/health")
def health():
    return "ok\n"


@app.route("/users/<int:number>")
def user(number):
    connection = database()
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT name FROM users WHERE id = %s", (number,))
        row = cursor.fetchone()
    finally:
        connection.close()
    if row is None:
        flask.abort(404)
    queue = redis.Redis.from_url(os.environ["QUEUE_URL"])
    return flask.jsonify(id=number, name=row[0], requests=queue.incr("requests:%d" % number))


@app.route("/users/<int:number>/greet", methods=["POST"])
def greet(number):
    """Leaves a task for a worker."""
    sent = tasks.send_task("greet", args=[number])
    return flask.jsonify(task=sent.id), 202


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(os.environ["PORT"]), threaded=True)
