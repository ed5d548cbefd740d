"""Images come one by one from a server that needs a few milliseconds for each, as remote storage does (input.storage).

The server is a process of this demo's own on this machine, with the latency of an object store: 8 ms.

    tfgpu-tui demo/remote_files.py
"""

import http.client
import http.server
import multiprocessing
import sys
import time
from pathlib import Path

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
LATENCY_S = 0.008


class Store(http.server.BaseHTTPRequestHandler):
    """Gives out files below the demo's folder of digits."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # headers and data in one packet

    def do_GET(self):
        time.sleep(LATENCY_S)
        data = (Path(__file__).parent / "data" / "digits" / Path(self.path).name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def serve(port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    port.send(server.server_port)
    server.serve_forever()


def main():
    import keras
    import tensorflow as tf
    from digits import image_files

    files, labels = image_files()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    store = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    store.start()
    connection = http.client.HTTPConnection("127.0.0.1", ours.recv())

    def download(path):
        connection.request("GET", "/" + Path(path.decode()).name)
        return connection.getresponse().read()

    def load_image(path, label):
        image = tf.io.decode_png(tf.numpy_function(download, [path], tf.string), channels=1)
        return tf.cast(tf.ensure_shape(image, (32, 32, 1)), tf.float32) / 255.0, label

    dataset = tf.data.Dataset.from_tensor_slices((files, labels)).shuffle(2000).take(320).map(load_image).batch(16)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            keras.layers.Conv2D(8, 3, activation="relu", name="edges"),
            keras.layers.MaxPooling2D(name="pool"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(10, name="digit"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(dataset, epochs=EPOCHS)
    store.terminate()


if __name__ == "__main__":
    main()
