import assert from 'node:assert/strict'
import test from 'node:test'

import {
  arrange,
  countRows,
  DEFAULT_VIEW,
  frameName,
  readArrangement,
  readRun,
  readView,
  writeArrangement
} from '../../web/layerflow/player_state.js'

const LAYERS = [
  { name: 'background', kind: 'background', row: 0, alphaRow: null },
  { name: 'dog', kind: 'foreground', row: 1, alphaRow: 2 },
  { name: 'blended', kind: 'blended', row: 3, alphaRow: null }
]
const RUN = {
  width: 96,
  height: 64,
  fps: 8,
  frames: 16,
  stream: 'play.mp4',
  subfolder: `layerflow_preview/${'0123456789abcdef'.repeat(2)}`,
  layers: LAYERS,
  still: null
}

test('a run begins with foregrounds and background', () => {
  const shown = arrange(LAYERS, []).filter(({ visible }) => visible)
  assert.deepEqual(
    shown.map(({ name }) => name),
    ['background', 'dog']
  )
})

test('an arrangement comes back through its text, by name', () => {
  const [background, dog, blended] = arrange(LAYERS, [])
  Object.assign(dog, { opacity: 0.5, solo: true })
  const text = writeArrangement([dog, background, blended])
  const again = arrange(LAYERS, readArrangement(text))
  assert.deepEqual(
    again.map(({ name }) => name),
    ['dog', 'background', 'blended']
  )
  assert.deepEqual([again[0].opacity, again[0].solo, again[0].alphaRow], [0.5, true, 2])
})

test('what a run says of a layer holds against an arrangement', () => {
  const rows = readArrangement('[{"name": "dog", "row": 7, "kind": "residual", "visible": true}]')
  const dog = arrange(LAYERS, rows).find(({ name }) => name === 'dog')
  assert.deepEqual([dog.row, dog.kind], [1, 'foreground'])
})

for (const text of ['', '{', 'null', '{"name": 1}', '[1, null, {"name": 3}]', undefined])
  test(`${text} is no arrangement`, () => assert.deepEqual(readArrangement(text), []))

test('a view comes back, and what is not of its form is the default', () => {
  const view = { ...DEFAULT_VIEW, backdrop: 'white', wipe: 0.25, frame: 7, matte: true }
  assert.deepEqual(readView(view), view)
  const hostile = { backdrop: 'url(x)', colour: 'red', wipe: 2, frame: -1, matte: 'yes', more: 1 }
  assert.deepEqual(readView(hostile), DEFAULT_VIEW)
  assert.deepEqual(readView(undefined), DEFAULT_VIEW)
})

test('a run comes back', () => assert.deepEqual(readRun(RUN), RUN))

for (const [what, change] of Object.entries({
  'a path': { subfolder: '../../secrets' },
  'no frames': { frames: 0 },
  'too many frames': { frames: 1e9 },
  'a size that is none': { width: 'wide' },
  'a rate that is none': { fps: Number.NaN },
  'no layers': { layers: [] },
  'a row beyond the atlas': { layers: [{ ...LAYERS[0], row: 9 }] },
  'a kind that is none': { layers: [{ ...LAYERS[0], kind: 'script' }] }
}))
  test(`a run with ${what} is refused`, () => assert.equal(readRun({ ...RUN, ...change }), null))

test('a still is a picture in the graph itself, never an address', () => {
  const still = 'data:image/jpeg;base64,AAAA'
  assert.equal(readRun({ ...RUN, still }).still, still)
  for (const other of ['https://example.com/a.png', 'data:text/html;base64,AAAA', 7])
    assert.equal(readRun({ ...RUN, still: other }).still, null)
  assert.equal(readRun({ ...RUN, stream: '../x.mp4' }).stream, null)
})

test('rows and names of frames', () => {
  assert.equal(countRows(LAYERS), 4)
  assert.equal(frameName(7), '00007.png')
})
