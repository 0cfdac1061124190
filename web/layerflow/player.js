/* A player of layers: a canvas, a time line, and a row for every layer. */

import { compositeFrame, readPixel } from './compositing.js'
import { Frames } from './frames.js'

const STYLE = `
.layerflow-player { display: flex; flex-direction: column; gap: 4px; width: 100%; height: 100%; box-sizing: border-box;
  padding: 4px; font: 11px sans-serif; color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222); outline: none; overflow: hidden }
.layerflow-player:focus-visible { box-shadow: inset 0 0 0 1px #6aa0ff }
.layerflow-player .screen { flex: 1 1 auto; min-height: 60px; display: flex; align-items: center; justify-content: center; overflow: hidden }
.layerflow-player canvas { cursor: crosshair }
.layerflow-player .bar { display: flex; gap: 4px; align-items: center; flex-wrap: wrap }
.layerflow-player .bar .grow { flex: 1; min-width: 60px }
.layerflow-player button { font: inherit; min-width: 22px; padding: 1px 4px; color: inherit; background: var(--comfy-menu-bg, #333); border: 1px solid #5555; border-radius: 3px; cursor: pointer }
.layerflow-player button[aria-pressed=true] { background: #3b6fd4; color: #fff }
.layerflow-player select { font: inherit; color: inherit; background: var(--comfy-menu-bg, #333); border: 1px solid #5555 }
.layerflow-player input[type=color] { width: 22px; height: 18px; padding: 0; border: 0 }
.layerflow-player .layer { display: flex; gap: 4px; align-items: center }
.layerflow-player .layer .name { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.layerflow-player .layer input { width: 70px }
.layerflow-player .readout { min-height: 13px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; opacity: .8 }
`

const BACKDROPS = {
  checker: { kind: 'checker' },
  black: { kind: 'solid', colour: [0, 0, 0] },
  white: { kind: 'solid', colour: [255, 255, 255] },
  colour: null
}
const HELP =
  'Space play, arrows step, Home and End, L loop, M matte, W wipe, 1-9 solo a layer, Shift+1-9 mute it'

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

export class LayerPlayer {
  constructor() {
    this.frames = null
    this.frame = 0
    this.layers = []
    this.looping = true
    this.playing = false
    this.view = { backdrop: BACKDROPS.checker, matte: false, wipe: null }
    this.element = this.build()
    this.observer = new ResizeObserver(() => this.fit())
    this.observer.observe(this.screen)
  }

  build() {
    this.canvas = make('canvas', { width: 1, height: 1 })
    this.canvas.addEventListener('pointermove', (event) => this.readAt(event))
    this.canvas.addEventListener('pointerleave', () => this.say(''))
    this.screen = make('div', { className: 'screen' }, this.canvas)
    this.play = make('button', {
      textContent: '▶',
      title: 'Play (Space)',
      onclick: () => this.toggle()
    })
    this.loop = make('button', {
      textContent: '⟳',
      title: 'Loop (L)',
      onclick: () => this.setLoop(!this.looping)
    })
    this.scrub = make('input', {
      type: 'range',
      min: 0,
      max: 0,
      value: 0,
      className: 'grow',
      title: 'Frame',
      oninput: () => this.show(Number(this.scrub.value))
    })
    this.count = make('span', { textContent: '0 / 0' })
    const step = (by, text, title) =>
      make('button', { textContent: text, title, onclick: () => this.step(by) })
    const time = make(
      'div',
      { className: 'bar' },
      step(-1, '◀|', 'One frame back (left)'),
      this.play,
      step(1, '|▶', 'One frame on (right)'),
      this.loop,
      this.scrub,
      this.count
    )
    this.backdrop = make('select', {
      title: 'What lies behind',
      onchange: () => this.setBackdrop(this.backdrop.value)
    })
    this.backdrop.append(
      ...Object.keys(BACKDROPS).map((name) => make('option', { value: name, textContent: name }))
    )
    this.colour = make('input', {
      type: 'color',
      value: '#2060a0',
      title: 'Colour behind',
      oninput: () => this.setBackdrop('colour')
    })
    this.matte = make('button', {
      textContent: 'matte',
      title: 'Alpha of what is shown (M)',
      onclick: () => this.setMatte(!this.view.matte)
    })
    this.wipe = make('button', {
      textContent: 'wipe',
      title: 'Layers on the left, the blended scene on the right (W)',
      onclick: () => this.setWipe(this.view.wipe == null ? 0.5 : null)
    })
    this.edge = make('input', {
      type: 'range',
      min: 0,
      max: 1,
      step: 0.01,
      value: 0.5,
      title: 'Where the wipe stands',
      oninput: () => this.setWipe(Number(this.edge.value))
    })
    const look = make(
      'div',
      { className: 'bar' },
      this.backdrop,
      this.colour,
      this.matte,
      this.wipe,
      this.edge
    )
    this.list = make('div', { className: 'layers' })
    this.readout = make('div', {
      className: 'readout',
      textContent: 'Run the graph to see its layers.'
    })
    const player = make(
      'div',
      { className: 'layerflow-player', tabIndex: 0, title: HELP },
      make('style', { textContent: STYLE }),
      this.screen,
      time,
      look,
      this.list,
      this.readout
    )
    player.addEventListener('keydown', (event) => this.onKey(event))
    // The graph's own shortcuts and dragging must not see what is meant for the player.
    for (const kind of ['pointerdown', 'wheel', 'dblclick'])
      player.addEventListener(kind, (event) => event.stopPropagation())
    return player
  }

  /* run: { width, height, fps, layers: [{ name, kind, row, alphaRow }] }, lowest layer first; urls of the frames. */
  open(run, urls) {
    this.frames?.dispose()
    this.run = run
    this.frames = new Frames(urls)
    const before = new Map(this.layers.map((layer) => [layer.name, layer]))
    this.layers = run.layers.map((layer) => ({
      visible: layer.kind === 'foreground' || layer.kind === 'background',
      opacity: 1,
      solo: false,
      ...pickState(before.get(layer.name)),
      ...layer
    }))
    this.canvas.width = run.width
    this.canvas.height = run.height
    this.fit()
    this.scrub.max = urls.length - 1
    const hasBlended = this.layers.some((layer) => layer.kind === 'blended')
    this.wipe.disabled = this.edge.disabled = !hasBlended
    this.listLayers()
    this.say('')
    this.sync()
    return this.show(Math.min(this.frame, urls.length - 1))
  }

  /* As large as the node allows, in its own aspect. */
  fit() {
    if (!this.run) return
    const scale = Math.min(
      this.screen.clientWidth / this.run.width,
      this.screen.clientHeight / this.run.height
    )
    this.canvas.style.width = `${Math.floor(this.run.width * scale)}px`
    this.canvas.style.height = `${Math.floor(this.run.height * scale)}px`
  }

  listLayers() {
    const rows = this.layers.map((layer, index) => this.makeRow(layer, index))
    this.list.replaceChildren(...rows.reverse()) // the highest layer on top, as in every editor
  }

  makeRow(layer, index) {
    const button = (text, title, pressed, onclick) => {
      const made = make('button', { textContent: text, title, onclick })
      made.setAttribute('aria-pressed', pressed)
      return made
    }
    const row = make(
      'div',
      { className: 'layer' },
      button('S', `Show ${layer.name} alone`, layer.solo, () => this.setSolo(index, !layer.solo)),
      button('M', `Mute ${layer.name}`, !layer.visible, () =>
        this.setVisible(index, !layer.visible)
      ),
      make('span', { className: 'name', textContent: layer.name, title: layer.kind }),
      make('input', {
        type: 'range',
        min: 0,
        max: 1,
        step: 0.01,
        value: layer.opacity,
        title: `Opacity of ${layer.name}`,
        oninput: (event) => this.setOpacity(index, Number(event.target.value))
      }),
      button('↑', `${layer.name} one up`, false, () => this.move(index, 1)),
      button('↓', `${layer.name} one down`, false, () => this.move(index, -1))
    )
    row.dataset.layer = layer.name
    return row
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
  }

  move(index, by) {
    const to = index + by
    if (to < 0 || to >= this.layers.length) return
    ;[this.layers[index], this.layers[to]] = [this.layers[to], this.layers[index]]
    this.changed()
  }

  setBackdrop(name) {
    const hex = this.colour.value
    this.backdrop.value = name
    this.view.backdrop = BACKDROPS[name] ?? {
      kind: 'solid',
      colour: [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16))
    }
    this.draw()
  }

  setMatte(on) {
    this.view.matte = on
    this.sync()
    this.draw()
  }

  setWipe(share) {
    this.view.wipe = this.wipe.disabled ? null : share
    this.sync()
    this.draw()
  }

  setLoop(on) {
    this.looping = on
    this.sync()
  }

  changed() {
    this.listLayers()
    this.draw()
  }

  sync() {
    for (const [button, on] of [
      [this.loop, this.looping],
      [this.matte, this.view.matte],
      [this.wipe, this.view.wipe != null]
    ])
      button.setAttribute('aria-pressed', on)
    this.play.textContent = this.playing ? '❚❚' : '▶'
    this.play.setAttribute('aria-pressed', this.playing)
  }

  async show(index) {
    if (!this.frames?.length) return
    this.frame = index
    this.scrub.value = index
    this.count.textContent = `${index + 1} / ${this.frames.length} · ${+this.run.fps.toFixed(3)} fps`
    const frames = this.frames
    try {
      await frames.load(index)
      if (this.frames === frames && this.frame === index) this.draw()
      if (this.playing) frames.load((index + 1) % frames.length).catch(() => {})
    } catch (error) {
      if (error.name !== 'AbortError') this.say(error.message)
    }
  }

  draw() {
    const atlas = this.frames?.peek(this.frame)
    if (!atlas) return
    const { width, height } = this.run
    const image = compositeFrame(atlas, width, height, this.layers, this.view)
    this.canvas.getContext('2d').putImageData(new ImageData(image, width, height), 0, 0)
  }

  step(by) {
    this.stop()
    const count = this.frames?.length ?? 0
    if (count) this.show((this.frame + by + count) % count)
  }

  toggle() {
    if (this.playing) this.stop()
    else this.start()
  }

  start() {
    if (!this.frames?.length) return
    this.playing = true
    this.sync()
    if (this.frame === this.frames.length - 1) this.frame = -1
    const period = 1000 / this.run.fps
    let due = performance.now()
    const tick = async (now) => {
      if (!this.playing || !this.element.isConnected) return this.stop()
      if (now >= due) {
        // By the clip's clock, of which the screen's is no multiple; time that was lost is not made up for.
        due = now - due > period ? now + period : due + period
        const next = this.frame + 1
        if (next >= this.frames.length && !this.looping) return this.stop()
        await this.show(next % this.frames.length)
      }
      this.timer = requestAnimationFrame(tick)
    }
    this.timer = requestAnimationFrame(tick)
  }

  stop() {
    this.playing = false
    cancelAnimationFrame(this.timer)
    this.sync()
  }

  readAt(event) {
    const atlas = this.frames?.peek(this.frame)
    if (!atlas) return
    const box = this.canvas.getBoundingClientRect()
    const { width, height } = this.run
    const x = Math.min(
      width - 1,
      Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * width))
    )
    const y = Math.min(
      height - 1,
      Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * height))
    )
    const values = readPixel(atlas, width, height, this.layers, x, y)
    const text = values.map(
      ({ name, colour, alpha }) =>
        `${name} ${colour.join(' ')}${alpha == null ? '' : ` α ${(alpha / 255).toFixed(3)}`}`
    )
    this.say(`${x}, ${y}:  ${text.join('   ')}`)
  }

  say(text) {
    this.readout.textContent = text
    this.readout.title = text
  }

  onKey(event) {
    const count = this.frames?.length ?? 0
    const digit = /^Digit([1-9])$/.exec(event.code)
    const actions = {
      ' ': () => this.toggle(),
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      Home: () => count && this.show(0),
      End: () => count && this.show(count - 1),
      l: () => this.setLoop(!this.looping),
      m: () => this.setMatte(!this.view.matte),
      w: () => this.setWipe(this.view.wipe == null ? 0.5 : null)
    }
    const index = digit ? this.layers.length - Number(digit[1]) : -1 // counted from the top, as they are listed
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
    this.stop()
    this.observer.disconnect()
    this.frames?.dispose()
    this.frames = null
    this.canvas.width = this.canvas.height = 0
  }
}

function pickState(layer) {
  return layer ? { visible: layer.visible, opacity: layer.opacity, solo: layer.solo } : {}
}
