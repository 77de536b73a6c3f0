"""What the workers do, each with another of the image's programs."""
import io
import os
import subprocess
import tempfile

import celery
import cv2
import numpy
import pycurl

app = celery.Celery("tasks", broker=os.environ["QUEUE_URL"], backend=os.environ["QUEUE_URL"])
FOLDER = os.path.dirname(os.path.abspath(__file__))


@app.task(name="transcode")
def transcode():
    """Makes a second of video, and transcodes it; what ffprobe says of the result."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = os.path.join(folder, "a.avi"), os.path.join(folder, "b.mp4")
        run = ["ffmpeg", "-loglevel", "error", "-nostdin"]
        subprocess.run(run + ["-f", "lavfi", "-i", "testsrc=duration=1:size=320x240:rate=10", source], check=True)
        subprocess.run(run + ["-i", source, "-c:v", "libx264", "-pix_fmt", "yuv420p", result], check=True)
        probe = ["ffprobe", "-loglevel", "error", "-show_entries", "stream=codec_name,width,nb_frames", "-of", "csv=p=0"]
        return subprocess.run(probe + [result], check=True, capture_output=True, text=True).stdout.strip()


@app.task(name="edges")
def edges():
    """Finds the edges of a square; the columns of its two sides."""
    image = numpy.zeros((100, 100), dtype=numpy.uint8)
    image[30:70, 20:80] = 255
    found = cv2.Canny(image, 100, 200)
    columns = numpy.flatnonzero(found[50])
    return [int(columns.min()), int(columns.max())]


@app.task(name="render")
def render(html):
    """Renders a page; the size of the picture."""
    with tempfile.TemporaryDirectory() as folder:
        page, picture = os.path.join(folder, "page.html"), os.path.join(folder, "page.png")
        with open(page, "w") as file:
            file.write(html)
        script = os.path.join(FOLDER, "render.js")
        subprocess.run(["node", script, page, picture], check=True, timeout=60)
        height, width = cv2.imread(picture).shape[:2]
        return [width, height]


@app.task(name="fetch")
def fetch(url):
    """Asks for a page with libcurl; its status and size."""
    content = io.BytesIO()
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.WRITEDATA, content)
    curl.perform()
    status = curl.getinfo(pycurl.RESPONSE_CODE)
    curl.close()
    return [status, len(content.getvalue())]
