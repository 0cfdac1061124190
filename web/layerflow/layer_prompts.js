/* Tells on LayerPrompts nodes how long the prompts are, before any of them is cut. */

import { app } from '../../../scripts/app.js'
import { api } from '../../../scripts/api.js'
import { connectedCheckpoint } from './connected_checkpoint.js'

const NODE = 'LayerPrompts'
const LAYERS = ['foreground', 'background', 'blended']
const PAUSE = 400 // milliseconds without typing
const LOOK = 1000 // milliseconds between two looks at which model is connected: no event tells of nodes further on
const LONGEST = 5000 // characters that are counted: far more than are read

/* Whole characters only: half of one is no text that a request can hold. */
function shorten(text) {
  return Array.from(text)
    .slice(0, LONGEST)
    .filter((letter) => !/^[\ud800-\udfff]$/.test(letter))
    .join('')
}

function textsOf(node) {
  return LAYERS.map((name) =>
    String(node.widgets?.find((widget) => widget.name === name)?.value ?? '')
  ).map(shorten)
}

/* Without a model, or with one that is not there any more, as official checkpoints read. */
async function ask(texts, checkpoint) {
  const body = JSON.stringify(checkpoint ? { texts, checkpoint } : { texts })
  const answer = await api.fetchApi('/layerflow/tokens', {
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json' }
  })
  if (answer.ok) return answer.json()
  return checkpoint ? ask(texts, null) : null
}

async function count(node, line) {
  const answer = await ask(textsOf(node), connectedCheckpoint(node))
  if (!answer) return
  const { counts, segment } = answer
  const long = LAYERS.filter((_, index) => counts[index] > segment)
  line.textContent = long.length
    ? `${long.join(', ')}: more than ${segment} tokens, the rest will be cut`
    : `${counts.join(' · ')} of ${segment} tokens`
  line.style.color = long.length ? '#f08060' : 'inherit'
}

function addLine(node) {
  const line = Object.assign(document.createElement('div'), { className: 'layerflow-tokens' })
  line.style.cssText =
    'font: 11px sans-serif; opacity: .8; padding: 0 6px; overflow: hidden; white-space: nowrap; text-overflow: ellipsis'
  const widget = node.addDOMWidget('tokens', 'layerflow_tokens', line, {
    serialize: false,
    margin: 2,
    getMinHeight: () => 20,
    getMaxHeight: () => 20
  })
  widget.serializeValue = () => undefined
  let timer = 0
  const later = () => {
    clearTimeout(timer)
    timer = setTimeout(() => count(node, line).catch(() => {}), PAUSE)
  }
  for (const widget of node.widgets.filter((each) => LAYERS.includes(each.name))) {
    const before = widget.callback
    widget.callback = function (...rest) {
      later()
      return before?.apply(this, rest)
    }
    widget.inputEl?.addEventListener('input', later)
  }
  const configured = node.onConfigure
  node.onConfigure = function (...rest) {
    later()
    const result = configured?.apply(this, rest)
    const height = this.computeSize()[1] // graphs saved before the line was there have none for it
    if (this.size[1] < height) this.setSize([this.size[0], height])
    return result
  }
  let checkpoint = null
  const looking = setInterval(() => {
    const connected = connectedCheckpoint(node)
    if (connected === checkpoint) return
    checkpoint = connected
    later()
  }, LOOK)
  const removed = node.onRemoved
  node.onRemoved = function (...rest) {
    clearTimeout(timer)
    clearInterval(looking)
    return removed?.apply(this, rest)
  }
  later()
}

app.registerExtension({
  name: 'LayerFlow.LayerPrompts',
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return
    const created = nodeType.prototype.onNodeCreated
    nodeType.prototype.onNodeCreated = function (...rest) {
      const result = created?.apply(this, rest)
      addLine(this)
      return result
    }
  }
})
