/* Frames of a run, fetched and decoded when they are shown, and forgotten again when there are too many. */

const MOST_BYTES = 192 * 1024 * 1024

export class Frames {
  /* urls: of the atlases, in order. */
  constructor(urls) {
    this.urls = urls
    this.decoded = new Map()
    this.pending = new Map()
    this.controller = new AbortController()
  }

  get length() {
    return this.urls.length
  }

  /* Atlas bytes of a frame if they are there, else null. */
  peek(index) {
    const found = this.decoded.get(index)
    if (found) {
      this.decoded.delete(index)
      this.decoded.set(index, found)
    }
    return found ?? null
  }

  /* Atlas bytes of a frame, RGBA. */
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
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height)
    const context = canvas.getContext('2d', { willReadFrequently: true })
    context.drawImage(bitmap, 0, 0)
    bitmap.close()
    const bytes = context.getImageData(0, 0, canvas.width, canvas.height).data
    this.decoded.set(index, bytes)
    this.forgetOldest(bytes.length)
    return bytes
  }

  forgetOldest(size) {
    const most = Math.max(2, Math.floor(MOST_BYTES / size))
    for (const key of this.decoded.keys()) {
      if (this.decoded.size <= most) return
      this.decoded.delete(key)
    }
  }

  dispose() {
    this.controller.abort()
    this.decoded.clear()
    this.pending.clear()
  }
}
