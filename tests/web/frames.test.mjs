import assert from 'node:assert/strict'
import test, { afterEach, beforeEach } from 'node:test'

import { Frames } from '../../web/layerflow/frames.js'

/* Stand-ins for what a browser decodes with: a frame's bytes are filled with its number. */
const before = {}
let fetched
let size

function standIn(name, value) {
  before[name] = globalThis[name]
  globalThis[name] = value
}

class Canvas {
  constructor(width, height) {
    Object.assign(this, { width, height })
  }

  getContext() {
    return {
      drawImage: (bitmap) => Object.assign(this, { shown: bitmap.number }),
      getImageData: () => ({ data: { length: size, number: this.shown } })
    }
  }
}

beforeEach(() => {
  fetched = []
  size = 4
  standIn('fetch', async (url, { signal }) => {
    fetched.push(url)
    signal.throwIfAborted()
    return { ok: url !== 'gone', blob: async () => url }
  })
  standIn('createImageBitmap', async (url) => ({
    width: size / 4,
    height: 1,
    number: url,
    close() {
      this.closed = true
    }
  }))
  standIn('OffscreenCanvas', Canvas)
})

afterEach(() => Object.assign(globalThis, before))

test('a frame is fetched once, however often it is asked for', async () => {
  const frames = new Frames(['a', 'b'])
  assert.equal(frames.length, 2)
  assert.equal(frames.peek(0), null)
  const [first, second] = await Promise.all([frames.load(0), frames.load(0)])
  assert.equal(first, second)
  assert.equal(await frames.load(0), first)
  assert.equal(frames.peek(0), first)
  assert.deepEqual(fetched, ['a'])
})

test('when there are too many, those that were shown longest ago are forgotten', async () => {
  size = 64 * 1024 * 1024 // three fit
  const frames = new Frames(['a', 'b', 'c', 'd'])
  for (const index of [0, 1, 2]) await frames.load(index)
  frames.peek(0)
  await frames.load(3)
  assert.deepEqual(
    [0, 1, 2, 3].map((index) => frames.peek(index) !== null),
    [true, false, true, true]
  )
})

test('what is forgotten gives its memory back', async () => {
  size = 2 ** 30
  const frames = new Frames(['a', 'b', 'c'])
  const first = await frames.load(0)
  const second = await frames.load(1)
  await frames.load(2)
  assert.deepEqual([first.closed, second.closed], [true, undefined])
  frames.dispose()
  assert.equal(second.closed, true)
})

test('bytes are those of the frame, of one frame at a time', async () => {
  const frames = new Frames(['a', 'b'])
  assert.equal(frames.bytesOf(0), null)
  await frames.load(0)
  await frames.load(1)
  assert.equal(frames.bytesOf(0).number, 'a')
  assert.equal(frames.bytesOf(0), frames.bytesOf(0))
  assert.equal(frames.bytesOf(1).number, 'b')
})

test('two frames stay however large they are', async () => {
  size = 2 ** 30
  const frames = new Frames(['a', 'b', 'c'])
  for (const index of [0, 1, 2]) await frames.load(index)
  assert.deepEqual(
    [0, 1, 2].map((index) => frames.peek(index) !== null),
    [false, true, true]
  )
})

test('a frame that is gone says so, and is asked for again', async () => {
  const frames = new Frames(['gone'])
  await assert.rejects(frames.load(0), /frame 1 is gone .* run the graph again/)
  await assert.rejects(frames.load(0))
  assert.equal(fetched.length, 2)
})

test('nothing is fetched after the end', async () => {
  const frames = new Frames(['a', 'b'])
  await frames.load(0)
  frames.dispose()
  assert.equal(frames.peek(0), null)
  await assert.rejects(frames.load(1), { name: 'AbortError' })
})
