/* What a player remembers with the graph. Pure functions: saved graphs come from anywhere, so nothing of them is taken
 * that is not of the form it should have. */

const MOST_LAYERS = 64
const MOST_TEXT = 200
const MOST_SIDE = 16384
const MOST_FRAMES = 100000
const MOST_STILL = 60000
const KINDS = ['background', 'foreground', 'residual', 'blended']
const STILL = /^data:image\/(jpeg|png|webp);base64,[A-Za-z0-9+/=]+$/
const FOLDER = /^layerflow_preview\/[0-9a-f]{32}$/
const COLOUR = /^#[0-9a-f]{6}$/i

export const BACKDROPS = ['checker', 'black', 'white', 'colour']

export const DEFAULT_VIEW = {
  backdrop: 'checker',
  colour: '#2060a0',
  matte: false,
  wipe: null,
  frame: 0,
  looping: true,
  autoplay: false
}

function isShare(value) {
  return typeof value === 'number' && value >= 0 && value <= 1
}

function isCount(value, least, most) {
  return Number.isInteger(value) && value >= least && value <= most
}

function isName(value) {
  return typeof value === 'string' && value.length > 0 && value.length <= MOST_TEXT
}

/* Order, opacity, mute and solo as text, lowest layer first. */
export function writeArrangement(layers) {
  return JSON.stringify(
    layers.map(({ name, visible, opacity, solo }) => ({ name, visible, opacity, solo }))
  )
}

/* The rows of an arrangement; none where the text is not one. */
export function readArrangement(text) {
  let rows
  try {
    rows = JSON.parse(text)
  } catch {
    return []
  }
  if (!Array.isArray(rows) || rows.length > MOST_LAYERS) return []
  return rows
    .filter((row) => isName(row?.name))
    .map(({ name, visible, opacity, solo }) => ({
      name,
      visible: visible === true,
      opacity: isShare(opacity) ? opacity : 1,
      solo: solo === true
    }))
}

/* Layers of a run, lowest first, with the state that an arrangement gives them by name. */
export function arrange(layers, rows) {
  const known = new Map(rows.map((row, place) => [row.name, { ...row, place }]))
  const arranged = layers.map((layer, place) => ({
    visible: layer.kind === 'foreground' || layer.kind === 'background',
    opacity: 1,
    solo: false,
    place,
    ...known.get(layer.name),
    ...layer
  }))
  // A layer that the arrangement does not know keeps its place among the others.
  arranged.sort((a, b) => a.place - b.place)
  return arranged.map(({ place, ...layer }) => layer)
}

/* How a run is looked at; the default where a value is not of its form. */
export function readView(saved) {
  const { backdrop, colour, matte, wipe, frame, looping, autoplay } = saved ?? {}
  return {
    backdrop: BACKDROPS.includes(backdrop) ? backdrop : DEFAULT_VIEW.backdrop,
    colour: COLOUR.test(colour) ? colour : DEFAULT_VIEW.colour,
    matte: matte === true,
    wipe: isShare(wipe) ? wipe : null,
    frame: isCount(frame, 0, MOST_FRAMES) ? frame : 0,
    looping: looping !== false,
    autoplay: autoplay === true
  }
}

function isLayer(layer, rows) {
  return (
    isName(layer?.name) &&
    KINDS.includes(layer.kind) &&
    isCount(layer.row, 0, rows - 1) &&
    (layer.alphaRow == null || isCount(layer.alphaRow, 0, rows - 1))
  )
}

/* What a run's output, or a graph that remembers one, says of its frames; null where it says something else.
 *
 * { width, height, fps, frames, stream, subfolder, layers: [{ name, kind, row, alphaRow }], still }: frames is their
 * number, stream the video's name or null, still a small picture or null.
 */
export function readRun(saved) {
  const { width, height, fps, frames, stream, subfolder, layers, still } = saved ?? {}
  const fits =
    isCount(width, 1, MOST_SIDE) &&
    isCount(height, 1, MOST_SIDE) &&
    isCount(frames, 1, MOST_FRAMES) &&
    typeof fps === 'number' &&
    fps > 0 &&
    fps <= 1000 &&
    FOLDER.test(subfolder) &&
    Array.isArray(layers) &&
    layers.length > 0 &&
    layers.length <= MOST_LAYERS &&
    layers.every((layer) => isLayer(layer, 2 * layers.length))
  if (!fits) return null
  return {
    width,
    height,
    fps,
    frames,
    subfolder,
    stream: stream === 'play.mp4' ? stream : null,
    layers: layers.map(({ name, kind, row, alphaRow }) => ({
      name,
      kind,
      row,
      alphaRow: alphaRow ?? null
    })),
    still:
      typeof still === 'string' && still.length < MOST_STILL && STILL.test(still) ? still : null
  }
}

/* How many images stand in an atlas. */
export function countRows(layers) {
  return layers.reduce((count, { alphaRow }) => count + (alphaRow == null ? 1 : 2), 0)
}

/* Name of a frame's file. */
export function frameName(index) {
  return `${String(index).padStart(5, '0')}.png`
}
