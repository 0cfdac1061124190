/* The elements of a layer player, wired to its methods. */

import { BACKDROPS } from './player_state.js'
import { STYLE } from './player_style.js'

const HELP =
  'Space play, arrows step, Home and End, L loop, M matte, W wipe, F full screen, 1-9 solo a layer, Shift+1-9 mute it'
const EMPTY = 'Run the graph to see its layers.'

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

function makeButton(textContent, title, onclick, pressed = false) {
  const button = make('button', { textContent, title, onclick })
  button.setAttribute('aria-pressed', pressed)
  return button
}

function makeTimeBar(player) {
  const parts = {
    play: makeButton('▶', 'Play (Space)', () => player.toggle()),
    loop: makeButton('⟳', 'Loop (L)', () => player.setLoop(!player.view.looping)),
    autoplay: makeButton('auto', 'Play when a run arrives', () =>
      player.setAutoplay(!player.view.autoplay)
    ),
    full: makeButton('full', 'Full screen (F)', () => player.toggleFullscreen()),
    count: make('span', { textContent: '0 / 0' }),
    scrub: make('input', {
      type: 'range',
      min: 0,
      max: 0,
      value: 0,
      className: 'grow',
      title: 'Frame',
      oninput: () => player.seek(Number(parts.scrub.value))
    })
  }
  const bar = make(
    'div',
    { className: 'bar' },
    makeButton('◀|', 'One frame back (left)', () => player.step(-1)),
    parts.play,
    makeButton('|▶', 'One frame on (right)', () => player.step(1)),
    parts.loop,
    parts.autoplay,
    parts.scrub,
    parts.count,
    parts.full
  )
  return { parts, bar }
}

function makeLookBar(player) {
  const parts = {
    backdrop: make('select', {
      title: 'What lies behind',
      onchange: () => player.setBackdrop(parts.backdrop.value)
    }),
    colour: make('input', {
      type: 'color',
      title: 'Colour behind',
      oninput: () => player.setBackdrop('colour', parts.colour.value)
    }),
    matte: makeButton('matte', 'Alpha of what is shown (M)', () =>
      player.setMatte(!player.view.matte)
    ),
    wipe: makeButton('wipe', 'Layers on the left, the blended scene on the right (W)', () =>
      player.setWipe(player.view.wipe == null ? 0.5 : null)
    ),
    edge: make('input', {
      type: 'range',
      min: 0,
      max: 1,
      step: 0.01,
      value: 0.5,
      className: 'grow',
      title: 'Where the wipe stands',
      oninput: () => player.setWipe(Number(parts.edge.value))
    })
  }
  parts.backdrop.append(
    ...BACKDROPS.map((name) => make('option', { value: name, textContent: name }))
  )
  return { parts, bar: make('div', { className: 'bar' }, ...Object.values(parts)) }
}

/* All elements of a player by name; `root` holds them. */
export function makeControls(player) {
  const time = makeTimeBar(player)
  const look = makeLookBar(player)
  const canvas = make('canvas', { width: 1, height: 1 })
  const readout = make('div', { className: 'readout', textContent: EMPTY })
  const screen = make('div', { className: 'screen' }, canvas, readout)
  const list = make('div', { className: 'layers' })
  const style = make('style', { textContent: STYLE })
  const root = make(
    'div',
    { className: 'layerflow-player', tabIndex: 0, title: HELP },
    style,
    screen,
    time.bar,
    look.bar,
    list
  )
  return {
    root,
    screen,
    canvas,
    readout,
    list,
    bars: [time.bar, look.bar],
    ...time.parts,
    ...look.parts
  }
}

/* A layer's row: solo, mute, name, opacity, order. */
export function makeRow(player, layer, index) {
  const { name, kind } = layer
  const label = make('span', { className: 'name', textContent: name, title: `${name} (${kind})` })
  if (kind === 'residual') label.append(make('small', { textContent: '  ±1, grey is 0' }))
  const row = make(
    'div',
    { className: 'layer' },
    makeButton('S', `Show ${name} alone`, () => player.setSolo(index, !layer.solo), layer.solo),
    makeButton('M', `Mute ${name}`, () => player.setVisible(index, !layer.visible), !layer.visible),
    label,
    make('input', {
      type: 'range',
      min: 0,
      max: 1,
      step: 0.01,
      value: layer.opacity,
      title: `Opacity of ${name}`,
      oninput: (event) => player.setOpacity(index, Number(event.target.value))
    }),
    makeButton('↑', `${name} one up`, () => player.move(index, 1)),
    makeButton('↓', `${name} one down`, () => player.move(index, -1))
  )
  row.dataset.layer = name
  return row
}

/* A small menu at a place of the screen, gone with the next press. entries: [[text, action]]. */
export function openMenu(screen, x, y, entries) {
  const menu = make('div', { className: 'menu' })
  const close = () => {
    menu.remove()
    document.removeEventListener('pointerdown', closeFromOutside, true)
  }
  const closeFromOutside = (event) => {
    if (!menu.contains(event.target)) close()
  }
  for (const [text, action] of entries) {
    const button = make('button', { textContent: text })
    button.onpointerdown = (event) => {
      event.stopPropagation()
      close()
      action()
    }
    menu.append(button)
  }
  Object.assign(menu.style, { left: `${x}px`, top: `${y}px` })
  screen.append(menu)
  document.addEventListener('pointerdown', closeFromOutside, true)
}
