"""Checks that a grid of samples is a picture: its size, that no image is blank, that it is not noise.

    python3 tools/check_picture.py GRID.png STATISTICS.json IMAGES
    python3 tools/check_picture.py --measure GRID.png CELL GAP

The first compares a grid of so many images with statistics of the training data and exits with 1 where it lies too far
off. The second prints the statistics of a grid as such a file (CELL: pixels of an image's side, GAP: pixels between images), to be run
over a grid of training images. Standard library only, so that a fresh machine can run it.
"""

import json
import math
import struct
import sys
import zlib

# Sixteen images stray from the mean of a data set: their mean brightness by about a tenth of the range, their contrast
# and roughness by about a fifth. White noise has roughness sqrt(2), over twice that of any data set of images.
MEAN_TOLERANCE = 0.12
CONTRAST_FACTOR = 1.4
ROUGHNESS_FACTOR = 1.5
# An image with less than this share of the data's contrast counts as blank.
BLANK_SHARE = 0.15


def read_png(path):
    """Rows of a PNG of 8 bits a channel without interlacing: (width, height, channels, rows)."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG")
    at, packed, header = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    width, height, depth, colour, _, _, interlace = header
    channels = {0: 1, 2: 3, 4: 2, 6: 4}.get(colour)
    if depth != 8 or channels is None or interlace:
        raise ValueError(f"depth {depth}, colour type {colour}, interlace {interlace} are not read here")
    raw = zlib.decompress(packed)
    stride = width * channels
    rows, above = [], bytes(stride)
    for y in range(height):
        kind, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for i in range(stride):
            a = line[i - channels] if i >= channels else 0
            b = above[i]
            c = above[i - channels] if i >= channels else 0
            if kind == 1:
                line[i] = (line[i] + a) & 255
            elif kind == 2:
                line[i] = (line[i] + b) & 255
            elif kind == 3:
                line[i] = (line[i] + (a + b) // 2) & 255
            elif kind == 4:
                p = a + b - c
                near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))
                line[i] = (line[i] + near[2]) & 255
        rows.append(bytes(line))
        above = line
    return width, height, channels, rows


def deviation(values):
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def measure(path, cell, gap):
    """Statistics of the images of a grid: brightness and contrast in units of the range, roughness as the RMS step
    between horizontal neighbours over the contrast."""
    width, height, channels, rows = read_png(path)
    colours = min(channels, 3) if channels != 2 else 1
    if width < cell or height < cell:
        raise ValueError(f"{width}x{height} holds no image of {cell}x{cell}")
    # The outer border, if any, is as wide as what the whole images and gaps leave over.
    pitch = cell + gap
    across, down = (width + gap) // pitch, (height + gap) // pitch
    left, top = (width - across * pitch + gap) // 2, (height - down * pitch + gap) // 2
    pixels, steps, contrasts = [], [], []
    for row in range(down):
        for column in range(across):
            own = []
            for y in range(top + row * pitch, top + row * pitch + cell):
                for channel in range(colours):
                    first = (left + column * pitch) * channels + channel
                    line = [v / 255 for v in rows[y][first : first + cell * channels : channels]]
                    own += line
                    steps += [(q - p) ** 2 for p, q in zip(line, line[1:])]
            contrasts.append(deviation(own)[1])
            pixels += own
    mean, contrast = deviation(pixels)
    rough = math.sqrt(sum(steps) / len(steps)) / contrast if contrast else 0.0
    found = {"cell": cell, "gap": gap, "mean": round(mean, 4), "contrast": round(contrast, 4), "roughness": round(rough, 4)}
    return found, across * down, min(contrasts)


def check(path, statistics, count):
    with open(statistics, encoding="utf-8") as file:
        want = json.load(file)
    got, images, least = measure(path, want["cell"], want["gap"])
    print(f"{path}: {images} images, {got}; the training data: {want}")
    problems = []
    if images != count:
        problems.append(f"{count} images of {want['cell']}x{want['cell']} are wanted")
    if least < BLANK_SHARE * want["contrast"]:
        problems.append(f"an image is blank: contrast {least:.4f}")
    if abs(got["mean"] - want["mean"]) > MEAN_TOLERANCE:
        problems.append("its brightness is off")
    for key, factor in (("contrast", CONTRAST_FACTOR), ("roughness", ROUGHNESS_FACTOR)):
        if not want[key] / factor <= got[key] <= want[key] * factor:
            problems.append(f"its {key} is off")
    for problem in problems:
        print(f"{path}: {problem}")
    return 1 if problems else 0


def main(arguments):
    if len(arguments) == 4 and arguments[0] == "--measure":
        print(json.dumps(measure(arguments[1], int(arguments[2]), int(arguments[3]))[0]))
        return 0
    if len(arguments) == 3:
        return check(arguments[0], arguments[1], int(arguments[2]))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, KeyError, ValueError, zlib.error, struct.error) as error:
        sys.exit(f"{sys.argv[1:]}: {error}")
