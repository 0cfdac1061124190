/* Lossless frames of a run, fetched and decoded when they are shown, and forgotten again when there are too many. */

const MOST_BYTES = 192 * 1024 * 1024

export class Frames {
  /* urls: of the atlases, in order. */
  constructor(urls) {
    this.urls = urls
    this.decoded = new Map()
    this.pending = new Map()
    this.controller = new AbortController()
    this.read = { bitmap: null, bytes: null }
  }

  get length() {
    return this.urls.length
  }

  /* Atlas of a frame if it is there, an ImageBitmap, else null. */
  peek(index) {
    const found = this.decoded.get(index)
    if (found) {
      this.decoded.delete(index)
      this.decoded.set(index, found)
    }
    return found ?? null
  }

  /* RGBA bytes of a frame's atlas if it is there, else null. Those of one frame are kept. */
  bytesOf(index) {
    const bitmap = this.peek(index)
    if (!bitmap) return null
    if (this.read.bitmap !== bitmap) {
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height)
      const context = canvas.getContext('2d', { willReadFrequently: true })
      context.drawImage(bitmap, 0, 0)
      this.read = { bitmap, bytes: context.getImageData(0, 0, canvas.width, canvas.height).data }
    }
    return this.read.bytes
  }

  /* Atlas of a frame. */
  load(index) {
    const found = this.peek(index)
    if (found) return Promise.resolve(found)
    if (!this.pending.has(index)) {
      this.pending.set(
        index,
        this.fetchFrame(index).finally(() => this.pending.delete(index))
      )
    }
    return this.pending.get(index)
  }

  async fetchFrame(index) {
    const answer = await fetch(this.urls[index], { signal: this.controller.signal })
    if (!answer.ok)
      throw new Error(
        `frame ${index + 1} is gone from ComfyUI's temporary folder: run the graph again`
      )
    const bitmap = await createImageBitmap(await answer.blob(), {
      colorSpaceConversion: 'none',
      premultiplyAlpha: 'none'
    })
    this.controller.signal.throwIfAborted()
    this.decoded.set(index, bitmap)
    this.forgetOldest(4 * bitmap.width * bitmap.height)
    return bitmap
  }

  forgetOldest(size) {
    const most = Math.max(2, Math.floor(MOST_BYTES / size))
    for (const [key, bitmap] of this.decoded) {
      if (this.decoded.size <= most) return
      this.decoded.delete(key)
      bitmap.close()
    }
  }

  dispose() {
    this.controller.abort()
    for (const bitmap of this.decoded.values()) bitmap.close()
    this.decoded.clear()
    this.pending.clear()
    this.read = { bitmap: null, bytes: null }
  }
}
