import assert from 'node:assert/strict'
import test from 'node:test'

import {
  CHECKER,
  compositeFrame,
  cutOut,
  isResidualAlone,
  readPixel,
  shownLayers
} from '../../web/layerflow/compositing.js'

const SOLID = { kind: 'solid', colour: [10, 20, 30] }
const VIEW = { backdrop: SOLID, matte: false, wipe: null }

/* An atlas of rows of grey or coloured pixels: each row is a list of [r, g, b]. */
function makeAtlas(...rows) {
  return Uint8ClampedArray.from(rows.flat().flatMap((pixel) => [...pixel, 255]))
}

function grey(value) {
  return [value, value, value]
}

function layer(kind, row, changes = {}) {
  return {
    name: kind,
    kind,
    row,
    alphaRow: null,
    visible: true,
    solo: false,
    opacity: 1,
    ...changes
  }
}

function pixelsOf(image) {
  const pixels = []
  for (let at = 0; at < image.length; at += 4) pixels.push([...image.slice(at, at + 3)])
  return pixels
}

const background = layer('background', 0)
const foreground = layer('foreground', 1, { alphaRow: 2 })
const atlas = makeAtlas(
  [grey(100), grey(100)], // background
  [
    [200, 0, 0],
    [200, 0, 0]
  ], // foreground
  [grey(255), grey(0)], // its alpha
  [grey(50), grey(60)] // blended
)

test('a foreground hides what lies behind by its alpha', () => {
  const image = compositeFrame(atlas, 2, 1, [background, foreground], VIEW)
  assert.deepEqual(pixelsOf(image), [[200, 0, 0], grey(100)])
  assert.ok(image.filter((_, at) => at % 4 === 3).every((alpha) => alpha === 255))
})

test('opacity is a share of alpha', () => {
  const half = { ...foreground, opacity: 0.5 }
  const [pixel] = pixelsOf(compositeFrame(atlas, 2, 1, [background, half], VIEW))
  assert.deepEqual(pixel, [150, 50, 50])
})

test('a muted layer is not there, and a solo layer is there alone, over the backdrop', () => {
  const muted = compositeFrame(atlas, 2, 1, [background, { ...foreground, visible: false }], VIEW)
  assert.deepEqual(pixelsOf(muted), [grey(100), grey(100)])
  const solo = { ...foreground, solo: true, visible: false }
  assert.deepEqual(shownLayers([background, solo]), [solo])
  const alone = compositeFrame(atlas, 2, 1, [background, solo], VIEW)
  assert.deepEqual(pixelsOf(alone), [[200, 0, 0], SOLID.colour])
})

test('the matte is how much of a pixel the shown foregrounds cover', () => {
  const twice = [background, { ...foreground, opacity: 0.5 }, { ...foreground, opacity: 0.5 }]
  const image = compositeFrame(atlas, 2, 1, twice, { ...VIEW, matte: true })
  assert.deepEqual(pixelsOf(image), [grey(191), grey(0)])
})

test('a residual is added, around mid grey', () => {
  const lit = makeAtlas([grey(100), grey(100)], [grey(137), grey(117)])
  const residual = layer('residual', 1)
  const image = compositeFrame(lit, 2, 1, [background, residual], VIEW)
  assert.deepEqual(pixelsOf(image), [grey(119), grey(79)])
})

test('right of the wipe stands the blended layer, whole, even if it is muted or solo elsewhere', () => {
  const blended = layer('blended', 3, { visible: false, opacity: 0.2 })
  const layers = [background, foreground, blended]
  const image = compositeFrame(atlas, 2, 1, layers, { ...VIEW, wipe: 0.5 })
  assert.deepEqual(pixelsOf(image), [[200, 0, 0], grey(60)])
  const whole = compositeFrame(atlas, 2, 1, layers, { ...VIEW, wipe: 0 })
  assert.deepEqual(pixelsOf(whole), [grey(50), grey(60)])
  const without = compositeFrame(atlas, 2, 1, [background, foreground], { ...VIEW, wipe: 0 })
  assert.deepEqual(pixelsOf(without), [[200, 0, 0], grey(100)])
})

test('a checkered backdrop changes from square to square', () => {
  const side = 2 * CHECKER
  const nothing = new Uint8ClampedArray(4 * side * side)
  const view = { ...VIEW, backdrop: { kind: 'checker' } }
  const pixels = pixelsOf(compositeFrame(nothing, side, side, [], view))
  assert.notDeepEqual(pixels[0], pixels[CHECKER])
  assert.notDeepEqual(pixels[0], pixels[CHECKER * side])
  assert.deepEqual(pixels[0], pixels[CHECKER * side + CHECKER])
})

test('a pixel is read as every layer has it, whatever is shown', () => {
  const hidden = { ...foreground, visible: false, opacity: 0 }
  const values = readPixel(atlas, 2, 1, [background, hidden], 1, 0)
  assert.deepEqual(values, [
    { name: 'background', kind: 'background', colour: grey(100), alpha: null },
    { name: 'foreground', kind: 'foreground', colour: [200, 0, 0], alpha: 0 }
  ])
})

test('a residual is read around 0, and alone it is drawn around grey', () => {
  const residual = layer('residual', 0)
  const bytes = makeAtlas([grey(127), grey(255)])
  assert.deepEqual(readPixel(bytes, 2, 1, [residual], 1, 0)[0].colour, grey(255))
  assert.deepEqual(readPixel(bytes, 2, 1, [residual], 0, 0)[0].colour, grey(-1))
  assert.ok(isResidualAlone([residual]) && !isResidualAlone([]) && !isResidualAlone([background]))
  const [zero] = pixelsOf(compositeFrame(bytes, 2, 1, [residual], VIEW))
  assert.ok(Math.abs(zero[0] - 127) <= 1)
})

test('what is cut out is straight and composites to what was shown', () => {
  const half = { ...foreground, opacity: 0.5 }
  const image = cutOut(atlas, 2, 1, [half])
  assert.deepEqual([...image], [200, 0, 0, 128, 0, 0, 0, 0])
  assert.deepEqual(
    [...cutOut(atlas, 2, 1, [background, half])],
    [150, 50, 50, 255, 100, 100, 100, 255]
  )
})
