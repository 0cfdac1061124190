/* A player of layers: a canvas, a time line, and a row for every layer. */

import { compositeFrame, cutOut, readPixel } from './compositing.js'
import { Frames } from './frames.js'
import { sharedCompositor } from './gpu_compositor.js'
import { makeControls, makeRow, openMenu } from './player_controls.js'
import { arrange, countRows, DEFAULT_VIEW } from './player_state.js'
import { Stream } from './stream.js'

const SOLID = { black: [0, 0, 0], white: [255, 255, 255] }

export class LayerPlayer {
  constructor() {
    this.frames = null
    this.stream = null
    this.frame = 0
    this.layers = []
    this.playing = false
    this.view = { ...DEFAULT_VIEW }
    this.onarranged = null // order, opacity, mute or solo was changed by hand
    this.onviewed = null // how it is looked at was
    this.parts = makeControls(this)
    this.element = this.parts.root
    this.canvas = this.parts.canvas
    this.listen()
    this.observer = new ResizeObserver(() => this.fit())
    this.observer.observe(this.parts.screen)
    this.sync()
  }

  listen() {
    this.canvas.addEventListener('pointermove', (event) => this.readAt(event))
    this.canvas.addEventListener('pointerleave', () => this.say(''))
    this.canvas.addEventListener('contextmenu', (event) => this.openMenu(event))
    this.element.addEventListener('keydown', (event) => this.onKey(event))
    // The graph's own shortcuts and dragging must not see what is meant for the player.
    for (const kind of ['pointerdown', 'dblclick'])
      this.element.addEventListener(kind, (event) => event.stopPropagation())
  }

  /* run: { width, height, fps, layers: [{ name, kind, row, alphaRow }] }, lowest layer first; urls: of the frames;
   * video: url of the same frames to play, or null; rows: an arrangement of the layers. */
  open(run, urls, video = null, rows = this.layers) {
    this.close()
    this.run = run
    this.frames = new Frames(urls)
    this.stream = video && new Stream(video, urls.length, run.fps)
    this.layers = arrange(run.layers, rows)
    this.canvas.width = run.width
    this.canvas.height = run.height
    this.fit()
    this.parts.scrub.max = urls.length - 1
    this.listLayers()
    this.say('')
    this.sync()
    return this.show(Math.min(this.frame, urls.length - 1))
  }

  /* Show a picture in place of a run whose frames are gone. */
  showStill(url, text) {
    this.close()
    const image = new Image()
    image.onload = () => {
      if (this.frames) return
      this.run = { width: image.width, height: image.height }
      this.canvas.width = image.width
      this.canvas.height = image.height
      this.fit()
      this.canvas.getContext('2d').drawImage(image, 0, 0)
    }
    if (url) image.src = url
    this.say(text)
  }

  close() {
    this.stop()
    this.frames?.dispose()
    this.stream?.dispose()
    this.frames = this.stream = this.loading = null
  }

  get hasBlended() {
    return this.layers.some((layer) => layer.kind === 'blended')
  }

  /* How the run is looked at, as a graph remembers it. */
  setView(view) {
    this.view = { ...view }
    this.frame = view.frame
    this.sync()
    this.draw()
  }

  viewed() {
    this.view.frame = this.frame
    this.onviewed?.(this.view)
  }

  /* As large as the node allows, in its own aspect. */
  fit() {
    if (!this.run) return
    const { clientWidth, clientHeight } = this.parts.screen
    const scale = Math.min(clientWidth / this.run.width, clientHeight / this.run.height)
    this.canvas.style.width = `${Math.floor(this.run.width * scale)}px`
    this.canvas.style.height = `${Math.floor(this.run.height * scale)}px`
  }

  /* Pixels of height that the controls need besides the screen. */
  get controlsHeight() {
    return [...this.parts.bars, this.parts.list].reduce(
      (sum, part) => sum + part.offsetHeight + 4,
      8
    )
  }

  listLayers() {
    const rows = this.layers.map((layer, index) => makeRow(this, layer, index))
    this.parts.list.replaceChildren(...rows.reverse()) // the highest layer on top, as in every editor
  }

  setSolo(index, on) {
    for (const [i, layer] of this.layers.entries()) layer.solo = on && i === index
    this.changed()
  }

  setVisible(index, on) {
    this.layers[index].visible = on
    this.changed()
  }

  setOpacity(index, opacity) {
    this.layers[index].opacity = opacity
    this.draw()
    this.onarranged?.(this.layers)
  }

  move(index, by) {
    const to = index + by
    if (to < 0 || to >= this.layers.length) return
    ;[this.layers[index], this.layers[to]] = [this.layers[to], this.layers[index]]
    this.changed()
  }

  changed() {
    this.listLayers()
    this.draw()
    this.onarranged?.(this.layers)
  }

  setBackdrop(name, colour = this.view.colour) {
    this.change({ backdrop: name, colour })
  }

  setMatte(on) {
    this.change({ matte: on })
  }

  setWipe(share) {
    this.change({ wipe: this.hasBlended ? share : null })
  }

  setLoop(on) {
    this.change({ looping: on })
  }

  setAutoplay(on) {
    this.change({ autoplay: on })
  }

  change(values) {
    Object.assign(this.view, values)
    this.sync()
    this.draw()
    this.viewed()
  }

  sync() {
    const { parts, view } = this
    for (const [button, on] of [
      [parts.loop, view.looping],
      [parts.autoplay, view.autoplay],
      [parts.matte, view.matte],
      [parts.wipe, view.wipe != null],
      [parts.play, this.playing]
    ])
      button.setAttribute('aria-pressed', on)
    parts.play.textContent = this.playing ? '❚❚' : '▶'
    parts.backdrop.value = view.backdrop
    parts.colour.value = view.colour
    if (view.wipe != null) parts.edge.value = view.wipe
    parts.wipe.disabled = parts.edge.disabled = !this.hasBlended
    this.syncFrame()
  }

  syncFrame() {
    if (!this.frames) return
    this.parts.scrub.value = this.frame
    const rate = +this.run.fps.toFixed(3)
    this.parts.count.textContent = `${this.frame + 1} / ${this.frames.length} · ${rate} fps`
  }

  /* Show a frame as it is, without loss. Of several that are asked for while one loads, the last is shown. */
  show(index) {
    if (!this.frames?.length) return Promise.resolve()
    this.frame = index
    this.syncFrame()
    this.loading ??= this.loadNewest(this.frames).finally(() => {
      this.loading = null
    })
    return this.loading
  }

  async loadNewest(frames) {
    try {
      let shown = null
      while (frames === this.frames && shown !== this.frame) {
        shown = this.frame
        await frames.load(shown)
      }
      if (frames !== this.frames) return
      this.draw()
      if (this.playing) frames.load((this.frame + 1) % frames.length).catch(() => {})
    } catch (error) {
      if (error.name !== 'AbortError') this.say(error.message)
    }
  }

  draw() {
    if (!this.frames) return
    const { run, layers } = this
    const { width, height } = run
    const isStreaming = this.playing && this.stream?.playing
    const atlas = isStreaming ? this.stream.video : this.frames.peek(this.frame)
    if (!atlas) return
    const size = isStreaming ? this.stream.size : [atlas.width, atlas.height]
    const rows = countRows(run.layers)
    const view = { ...this.view, backdrop: this.backdrop }
    const context = this.canvas.getContext('2d')
    const compositor = sharedCompositor()
    if (compositor?.takes(...size, layers)) {
      context.drawImage(compositor.draw(atlas, size, rows, width, height, layers, view), 0, 0)
      return
    }
    const bytes = isStreaming ? this.stream.bytes : this.frames.bytesOf(this.frame)
    const image = compositeFrame(bytes, size[0], size[1] / rows, layers, view)
    const drawn = new ImageData(image, size[0])
    if (drawn.width === width && drawn.height === height) context.putImageData(drawn, 0, 0)
    else drawScaled(context, drawn)
  }

  get backdrop() {
    const { backdrop, colour } = this.view
    if (backdrop === 'checker') return { kind: 'checker' }
    const picked = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16))
    return { kind: 'solid', colour: SOLID[backdrop] ?? picked }
  }

  seek(index) {
    this.stop()
    this.show(index)
    this.viewed()
  }

  step(by) {
    const count = this.frames?.length ?? 0
    if (count) this.seek((this.frame + by + count) % count)
  }

  toggle() {
    if (!this.playing) return this.start()
    this.stop()
    this.show(this.frame)
    this.viewed()
  }

  start() {
    if (!this.frames?.length) return
    this.playing = true
    this.sync()
    const last = this.frames.length - 1
    if (this.stream && !this.stream.failed)
      this.stream.play(
        this.frame === last ? 0 : this.frame,
        (frame) => this.onStreamFrame(frame),
        () => this.stepFrames()
      )
    else this.stepFrames()
  }

  onStreamFrame(frame) {
    if (!this.playing) return
    if (!this.element.isConnected) return this.stop()
    const isOver = frame < this.frame && !this.view.looping
    if (isOver) return this.toggle()
    this.frame = frame
    this.syncFrame()
    this.draw()
  }

  /* Play the lossless frames, one after another. */
  stepFrames() {
    if (!this.playing) return
    this.stream?.stop()
    if (this.frame === this.frames.length - 1) this.frame = -1
    const period = 1000 / this.run.fps
    let due = performance.now()
    const tick = async (now) => {
      if (!this.playing || !this.element.isConnected) return this.stop()
      if (now >= due) {
        // By the clip's clock, of which the screen's is no multiple; time that was lost is not made up for.
        due = now - due > period ? now + period : due + period
        const next = this.frame + 1
        if (next >= this.frames.length && !this.view.looping) return this.stop()
        await this.show(next % this.frames.length)
      }
      this.timer = requestAnimationFrame(tick)
    }
    this.timer = requestAnimationFrame(tick)
  }

  stop() {
    this.playing = false
    this.stream?.stop()
    cancelAnimationFrame(this.timer)
    this.sync()
  }

  toggleFullscreen() {
    if (document.fullscreenElement) document.exitFullscreen()
    else this.element.requestFullscreen?.()
  }

  /* Values of the layers at a pixel, of the frame as it is without loss. */
  readAt(event) {
    const atlas = this.playing ? null : this.frames?.bytesOf(this.frame)
    if (!atlas) return
    const box = this.canvas.getBoundingClientRect()
    const { width, height } = this.run
    const across = (event.clientX - box.left) / box.width
    const down = (event.clientY - box.top) / box.height
    const x = Math.min(width - 1, Math.max(0, Math.floor(across * width)))
    const y = Math.min(height - 1, Math.max(0, Math.floor(down * height)))
    const values = readPixel(atlas, width, height, this.layers, x, y).reverse()
    this.parts.readout.classList.toggle('above', down > 0.5)
    this.say([`${x}, ${y}`, ...values.map(describe)].join('\n'))
  }

  say(text) {
    this.parts.readout.textContent = text
  }

  openMenu(event) {
    event.preventDefault()
    event.stopPropagation()
    if (!this.frames?.bytesOf(this.frame)) return
    openMenu(this.parts.screen, event.offsetX, event.offsetY, [
      ['Save this frame with alpha (PNG)', () => this.saveFrame(true)],
      ['Save this frame as it is seen (PNG)', () => this.saveFrame(false)]
    ])
  }

  /* Download the frame: what is shown of the layers with its alpha, or all that the canvas shows. */
  async saveFrame(hasAlpha) {
    const { width, height } = this.run
    const canvas = new OffscreenCanvas(width, height)
    const context = canvas.getContext('2d')
    if (hasAlpha) {
      const image = cutOut(this.frames.bytesOf(this.frame), width, height, this.layers)
      context.putImageData(new ImageData(image, width, height), 0, 0)
    } else context.drawImage(this.canvas, 0, 0)
    const link = document.createElement('a')
    link.href = URL.createObjectURL(await canvas.convertToBlob({ type: 'image/png' }))
    link.download = `layers_${String(this.frame).padStart(5, '0')}.png`
    link.click()
    URL.revokeObjectURL(link.href)
  }

  onKey(event) {
    const count = this.frames?.length ?? 0
    const digit = /^Digit([1-9])$/.exec(event.code)
    const actions = {
      ' ': () => this.toggle(),
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      Home: () => count && this.seek(0),
      End: () => count && this.seek(count - 1),
      l: () => this.setLoop(!this.view.looping),
      m: () => this.setMatte(!this.view.matte),
      w: () => this.setWipe(this.view.wipe == null ? 0.5 : null),
      f: () => this.toggleFullscreen()
    }
    const index = digit ? this.layers.length - Number(digit[1]) : -1 // counted from the top, as they are listed
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (event.target.matches?.('input[type=range], select') && event.key.startsWith('Arrow')) return
    if (digit && this.layers[index]) {
      if (event.shiftKey) this.setVisible(index, !this.layers[index].visible)
      else this.setSolo(index, !this.layers[index].solo)
    } else if (actions[event.key]) actions[event.key]()
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  dispose() {
    this.close()
    this.observer.disconnect()
    this.canvas.width = this.canvas.height = 0
  }
}

/* An image of another size than the canvas, as one of a video that was made smaller. */
function drawScaled(context, image) {
  const small = new OffscreenCanvas(image.width, image.height)
  small.getContext('2d').putImageData(image, 0, 0)
  context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height)
}

/* A layer's value at a pixel as a line; a residual's around 0. */
function describe({ name, kind, colour, alpha }) {
  const signed = (value) => `${value < 0 ? '−' : '+'}${Math.abs(value / 255).toFixed(2)}`
  const values = kind === 'residual' ? colour.map(signed) : colour
  return `${name} ${values.join(' ')}${alpha == null ? '' : ` α ${(alpha / 255).toFixed(3)}`}`
}
