/* Layers of one frame to an image. Pure functions: no DOM, no network.
 *
 * A frame is an atlas: the layers' images one below the other, RGBA bytes, every row `height` lines. A layer is
 * { name, kind, row, alphaRow, visible, opacity }; kinds are foreground, background, blended and residual. Colour is
 * straight; a residual of 0 is the byte 127.5.
 */

export const CHECKER = 8
const LIGHT = 153
const DARK = 102
const GREY = { kind: 'solid', colour: [127.5, 127.5, 127.5] }

/* The layers that are shown, lowest first: a solo layer alone, else those that are not muted. */
export function shownLayers(layers) {
  const solo = layers.filter((layer) => layer.solo)
  return solo.length ? solo : layers.filter((layer) => layer.visible)
}

/* Whether nothing but residuals is shown: they are drawn around grey, since there is nothing to add them to. */
export function isResidualAlone(shown) {
  return shown.length > 0 && shown.every((layer) => layer.kind === 'residual')
}

/* Draw a frame.
 *
 * atlas: RGBA bytes; view: { backdrop: { kind, colour }, matte, wipe } where wipe is null or 0..1, the share of the
 * width that shows the layers, the rest showing the blended layer. Returns RGBA bytes, width * height.
 */
export function compositeFrame(atlas, width, height, layers, view) {
  const size = width * height
  const shown = shownLayers(layers)
  const planes = new Float32Array(3 * size)
  if (view.matte) fillMatte(planes, shown, atlas, size)
  else {
    fillBackdrop(planes, isResidualAlone(shown) ? GREY : view.backdrop, width)
    for (const layer of shown) paint(planes, layer, atlas, size)
  }
  const image = new Uint8ClampedArray(4 * size)
  for (let to = 0, from = 0; to < image.length; to += 4, from += 3) {
    image[to] = planes[from]
    image[to + 1] = planes[from + 1]
    image[to + 2] = planes[from + 2]
    image[to + 3] = 255
  }
  const blended = layers.find((layer) => layer.kind === 'blended')
  if (view.wipe != null && blended)
    copyRight(image, atlas, blended.row, width, height, Math.round(view.wipe * width))
  return image
}

/* planes: [r, g, b] of every pixel, 0..255 and beyond. */
function fillBackdrop(planes, { kind, colour }, width) {
  for (let at = 0, pixel = 0; at < planes.length; at += 3, pixel++) {
    if (kind === 'checker') {
      const square = ((pixel % width) / CHECKER) | 0
      const line = (((pixel / width) | 0) / CHECKER) | 0
      planes[at] = planes[at + 1] = planes[at + 2] = (square + line) % 2 ? LIGHT : DARK
    } else {
      planes[at] = colour[0]
      planes[at + 1] = colour[1]
      planes[at + 2] = colour[2]
    }
  }
}

function paint(planes, layer, atlas, size) {
  let from = 4 * layer.row * size
  if (layer.kind === 'residual') {
    for (let at = 0; at < planes.length; at += 3, from += 4)
      for (let c = 0; c < 3; c++) planes[at + c] += 2 * (atlas[from + c] - 127.5) * layer.opacity
    return
  }
  const hasAlpha = layer.alphaRow != null
  let matte = 4 * (layer.alphaRow ?? 0) * size
  for (let at = 0; at < planes.length; at += 3, from += 4, matte += 4) {
    const share = hasAlpha ? (atlas[matte] / 255) * layer.opacity : layer.opacity
    planes[at] += (atlas[from] - planes[at]) * share
    planes[at + 1] += (atlas[from + 1] - planes[at + 1]) * share
    planes[at + 2] += (atlas[from + 2] - planes[at + 2]) * share
  }
}

/* How much of each pixel the shown foregrounds cover, as grey. */
function fillMatte(planes, shown, atlas, size) {
  const mattes = shown.filter(({ alphaRow }) => alphaRow != null)
  for (let pixel = 0, at = 0; pixel < size; pixel++, at += 3) {
    let clear = 1
    for (const layer of mattes) clear *= 1 - shareOf(layer, atlas, pixel, size)
    planes[at] = planes[at + 1] = planes[at + 2] = 255 * (1 - clear)
  }
}

/* How much of a pixel a layer hides, 0..1. */
function shareOf(layer, atlas, pixel, size) {
  const alpha = layer.alphaRow == null ? 1 : atlas[4 * (layer.alphaRow * size + pixel)] / 255
  return alpha * layer.opacity
}

function copyRight(image, atlas, row, width, height, edge) {
  for (let line = 0; line < height; line++) {
    const from = 4 * ((row * height + line) * width + edge)
    const to = 4 * (line * width + edge)
    image.set(atlas.subarray(from, from + 4 * (width - edge)), to)
  }
}

/* What is shown, without anything behind it: RGBA bytes, straight. */
export function cutOut(atlas, width, height, layers) {
  const size = width * height
  const shown = shownLayers(layers)
  const premultiplied = new Float32Array(3 * size)
  for (const layer of shown) paint(premultiplied, layer, atlas, size)
  const image = new Uint8ClampedArray(4 * size)
  for (let pixel = 0; pixel < size; pixel++) {
    let clear = 1
    for (const layer of shown)
      if (layer.kind !== 'residual') clear *= 1 - shareOf(layer, atlas, pixel, size)
    const alpha = 1 - clear
    for (let c = 0; c < 3; c++)
      image[4 * pixel + c] = alpha ? premultiplied[3 * pixel + c] / alpha : 0
    image[4 * pixel + 3] = 255 * alpha
  }
  return image
}

/* The layers' own values at a pixel: [{ name, kind, colour: [r, g, b], alpha }]: bytes, those of a residual signed,
 * around 0; alpha is null for opaque layers. */
export function readPixel(atlas, width, height, layers, x, y) {
  const size = width * height
  const pixel = y * width + x
  return layers.map(({ name, kind, row, alphaRow }) => {
    const at = 4 * (row * size + pixel)
    const bytes = [atlas[at], atlas[at + 1], atlas[at + 2]]
    const colour = kind === 'residual' ? bytes.map((value) => 2 * value - 255) : bytes
    const alpha = alphaRow == null ? null : atlas[4 * (alphaRow * size + pixel)]
    return { name, kind, colour, alpha }
  })
}
