/* Layers of one frame to an image. Pure functions: no DOM, no network.
 *
 * A frame is an atlas: the layers' images one below the other, RGBA bytes, every row `height` lines. A layer is
 * { name, kind, row, alphaRow, visible, opacity }; kinds are foreground, background, blended and residual. Colour is
 * straight; a residual of 0 is the byte 127.5.
 */

export const CHECKER = 8

/* What lies behind everything at a pixel: [r, g, b]. */
function backdropAt(backdrop, x, y) {
  if (backdrop.kind !== 'checker') return backdrop.colour
  const light = ((x / CHECKER) | 0) + ((y / CHECKER) | 0)
  return light % 2 ? [153, 153, 153] : [102, 102, 102]
}

function paint(out, layer, atlas, pixel, size) {
  const at = 4 * (layer.row * size + pixel)
  if (layer.kind === 'residual') {
    for (let c = 0; c < 3; c++) out[c] += 2 * (atlas[at + c] - 127.5) * layer.opacity
    return
  }
  const alpha = layer.alphaRow == null ? 1 : atlas[4 * (layer.alphaRow * size + pixel)] / 255
  const share = alpha * layer.opacity
  for (let c = 0; c < 3; c++) out[c] = atlas[at + c] * share + out[c] * (1 - share)
}

/* The layers that are shown, lowest first: a solo layer alone, else those that are not muted. */
export function shownLayers(layers) {
  const solo = layers.filter((layer) => layer.solo)
  return solo.length ? solo : layers.filter((layer) => layer.visible)
}

/* Draw a frame.
 *
 * atlas: RGBA bytes; view: { backdrop: { kind, colour }, matte, wipe } where wipe is null or 0..1, the share of the
 * width that shows the layers, the rest showing the blended layer. Returns RGBA bytes, width * height.
 */
export function compositeFrame(atlas, width, height, layers, view) {
  const size = width * height
  const image = new Uint8ClampedArray(4 * size)
  const shown = shownLayers(layers)
  const found = layers.find((layer) => layer.kind === 'blended')
  const blended = found && { ...found, opacity: 1 }
  const edge = view.wipe == null || !blended ? width : Math.round(view.wipe * width)
  const out = [0, 0, 0]
  for (let pixel = 0; pixel < size; pixel++) {
    const x = pixel % width
    const y = (pixel / width) | 0
    if (x >= edge) {
      out[0] = out[1] = out[2] = 0
      paint(out, blended, atlas, pixel, size)
    } else if (view.matte) {
      out[0] = out[1] = out[2] = 255 * coverage(shown, atlas, pixel, size)
    } else {
      const behind = backdropAt(view.backdrop, x, y)
      out[0] = behind[0]
      out[1] = behind[1]
      out[2] = behind[2]
      for (const layer of shown) paint(out, layer, atlas, pixel, size)
    }
    for (let c = 0; c < 3; c++) image[4 * pixel + c] = out[c]
    image[4 * pixel + 3] = 255
  }
  return image
}

/* How much of a pixel the shown foregrounds cover, 0..1. */
function coverage(shown, atlas, pixel, size) {
  let clear = 1
  for (const layer of shown) {
    if (layer.alphaRow != null)
      clear *= 1 - (atlas[4 * (layer.alphaRow * size + pixel)] / 255) * layer.opacity
  }
  return 1 - clear
}

/* The layers' own values at a pixel: [{ name, colour: [r, g, b], alpha }], alpha null for opaque layers. */
export function readPixel(atlas, width, height, layers, x, y) {
  const size = width * height
  const pixel = y * width + x
  return layers.map((layer) => {
    const at = 4 * (layer.row * size + pixel)
    const alpha = layer.alphaRow == null ? null : atlas[4 * (layer.alphaRow * size + pixel)]
    return { name: layer.name, colour: [atlas[at], atlas[at + 1], atlas[at + 2]], alpha }
  })
}
