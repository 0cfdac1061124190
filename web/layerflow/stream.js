/* The video of a run, played by the browser: it decodes ahead and keeps the time. */

export class Stream {
  /* url: of the video; count: frames of the clip, which may stand in it several times; fps: frames per second. */
  constructor(url, count, fps) {
    this.count = count
    this.fps = fps
    this.failed = false
    this.playing = false
    this.video = Object.assign(document.createElement('video'), {
      muted: true,
      loop: true,
      playsInline: true,
      preload: 'auto',
      src: url,
      onerror: () => {
        this.failed = true
        this.onfail?.()
      }
    })
  }

  /* [width, height] of a frame, known once one has come. */
  get size() {
    return [this.video.videoWidth, this.video.videoHeight]
  }

  /* RGBA bytes of the frame that is there. */
  get bytes() {
    const [width, height] = this.size
    this.surface ??= new OffscreenCanvas(width, height).getContext('2d', {
      willReadFrequently: true
    })
    this.surface.drawImage(this.video, 0, 0)
    return this.surface.getImageData(0, 0, width, height).data
  }

  /* Play from a frame of the clip.
   *
   * onframe: called with the number of each frame when it is there to be drawn; onfail: when the browser cannot play.
   */
  async play(from, onframe, onfail) {
    this.playing = true
    this.onframe = onframe
    this.onfail = onfail
    if (this.failed) return onfail()
    this.video.currentTime = (from + 0.5) / this.fps
    this.watch()
    try {
      await this.video.play()
    } catch (error) {
      if (error.name !== 'AbortError') onfail() // which is a pause before it began
    }
  }

  watch() {
    if (this.video.requestVideoFrameCallback) {
      this.video.requestVideoFrameCallback((_, { mediaTime }) => this.tell(mediaTime))
    } else {
      requestAnimationFrame(() => this.tell(this.video.currentTime))
    }
  }

  tell(seconds) {
    if (!this.playing) return
    const frame = Math.floor(seconds * this.fps + 0.01) % this.count
    this.watch()
    if (this.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) this.onframe(frame)
  }

  stop() {
    this.playing = false
    this.video.pause()
  }

  dispose() {
    this.stop()
    this.video.onerror = null
    this.video.removeAttribute('src')
    this.video.load()
  }
}
